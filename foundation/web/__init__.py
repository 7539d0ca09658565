"""Requests and responses: guards, forms, sessions, `/auth`, features."""
