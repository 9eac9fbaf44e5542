"""Who asks: a signed request becomes an account and its key.

In: the request, and a function that finds an access key. Out: Identified, or a Fault with AWS's code.
Pure but for the clock that is handed in. Start at authenticate.py, which chooses by the kind of signature;
signature_v4.py and query_signatures.py each build what a signer of that version signs.
"""
