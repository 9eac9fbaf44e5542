"""Containers: instances run by an OCI runtime, each in a user namespace of its own.

In: an InstanceSpec, an image layer. Out: a veth device to be policed and a process tree behind it. What an
instance is made of: a range of uids, a network namespace that its root owns, an overlay over the shared
image, a seccomp profile, and cgroup limits. No mount of an instance is ever visible on the host. Knows
nothing of groups or policy. Start at driver.py; bundle.py is what the runtime is told.
"""
