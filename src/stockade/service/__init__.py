"""Service: the use cases. Check, decide, write one transaction.

In: a Caller and model values. Out: model values; domain errors of model/errors.py. Must not know wire names, AWS's
error codes, or which store keeps the state. One module a resource, each with a class made from the Cell.
Start at cell.py (what all of them stand on), then rules.py for a use case from end to end.
"""
