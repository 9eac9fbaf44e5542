"""Namespaces: the smallest instance, one command in a network namespace. For tests and for trying drivers out.

In: an InstanceSpec; the command is the driver's, whatever the recipe. Out: the same devices and states as a
container's. No isolation but the network's. Start at driver.py.
"""
