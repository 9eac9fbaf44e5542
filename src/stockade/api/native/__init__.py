"""What AWS has no call for, under /_stockade/: health, metrics, accounts, as JSON and plain text.

In: HTTP requests (Starlette, imported when the first one comes). Out: JSON with stable keys. Start at routes.py.
"""
