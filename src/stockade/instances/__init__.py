"""Instances: what a network interface is plugged into.

In: an InstanceSpec. Out: a device to be policed first, then a running instance, its state and its console. Knows no
security groups and no policy. contract.py says what a driver promises and in which order; container/ runs OCI
containers, namespace/ plain processes; images/ builds what they boot, network/ is what they find around them.
"""
