"""The hardened client of Vonage, what comes in from it, and the texts."""
