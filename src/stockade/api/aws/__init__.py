"""EC2 by Query, and the one STS call its clients make first.

In: an HTTP request as plain values (request.py). Out: status, headers and a document. The ordered steps
are in gateway.py: parse, authenticate, look up the action, decode its parameters, act, write the answer.
"""
