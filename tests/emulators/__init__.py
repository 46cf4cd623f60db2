"""Services that no public emulator covers, written for the tests from their public reference."""
