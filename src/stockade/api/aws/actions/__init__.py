"""Actions: one thin function each, from a decoded request to one service call to the members of the answer.

In: Asked (caller, services, input in the model's member names). Out: a dict in the same names; gateway.py
writes it. What one action declares it reads is what it reads (registry.py). Wire words stop here: below
there are groups, rules and peers. permissions.py, filters.py and pages.py are what several actions share.
"""
