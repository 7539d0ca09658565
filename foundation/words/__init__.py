"""What people read: languages, sentences, times, templates."""
