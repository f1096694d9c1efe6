"""Facts about one file: bytes in, plain cacheable data out; nothing here knows another file."""
