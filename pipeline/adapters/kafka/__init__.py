"""The broker: one file a purpose; `client` alone imports the library."""
