"""The certificate: what was looked at, what each part showed, and how it is written for people and programs."""
