"""Embedded Kafka and Valkey, and the supervisor of a machine."""
