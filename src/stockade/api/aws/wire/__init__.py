"""Wire: bytes of a request become plain nested values, and plain nested values become response documents.

In: form parameters, or a nested dict in the service model's member names. Out: the other one. Pure: no
domain, no sockets, no clock; the model's bytes are handed in. What a name, a list or a type looks like is
said by the model generated from botocore (service_model.py); what the versions of 2006 to 2009 spell
otherwise is a table (classic.py). Start at query.py for requests and xml.py for responses.
"""
