"""A stand-in for Vonage that runs on this machine, so that nothing here needs an account or sends a
text.

It speaks real HTTPS in the shapes that Vonage documents, keeps state like Vonage, refuses what
Vonage refuses, and fails on demand. The program does not know about it: only `VONAGE_API_HOST`,
`VONAGE_REST_HOST` and `REQUESTS_CA_BUNDLE` point to it. What it does not do is listed in
docs/how-it-works.md.
"""
