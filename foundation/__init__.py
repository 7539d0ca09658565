"""What app.py is built on, in six floors: cli, web, vonage, storage, typed, words. Each imports
only those below it, and nothing here imports app.py."""
