"""The Linux kernel's own doors: routing netlink, namespaces, mounts. Standard library only.

In: plain values and file descriptors. Out: links, addresses, routes, namespaces and mounts as the kernel
has them; errors are OSError with the kernel's errno and, where it sent one, its text. Knows nothing of
instances, groups or policy, and journals nothing: who makes a host object writes it down first
(model/journal.py). Start at netlink.py; links.py is its first user.
"""
