"""The front doors for programs: EC2 and STS as AWS speaks them, and Stockade's own calls as JSON.

In: HTTP requests. Out: HTTP responses. Everything decided is decided by `service`; nothing here knows the
store or the datapath. Start at http.py, which tells the doors apart.
"""
