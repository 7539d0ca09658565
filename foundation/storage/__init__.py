"""The database, its queue and digests, the journal."""
