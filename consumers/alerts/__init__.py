"""Alerts with a life: remembered by id, silenced, acknowledged, and delivered to whoever asked for them."""
