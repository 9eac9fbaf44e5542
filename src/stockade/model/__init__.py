"""Model: the nouns of the product, as values.

Security groups, rules, interfaces, networks, instances, accounts, packets and verdicts: frozen, comparable, checked
when they are made. Standard library only; knows no HTTP, SQL, kernel or EC2 error code, and does no I/O. Start at
rule.py and security_group.py; host_view.py is what one host is told, errors.py what can be wrong.
"""
