"""The codemod: plans edits for findings, tries them on the whole program in memory, and writes them all or none."""
