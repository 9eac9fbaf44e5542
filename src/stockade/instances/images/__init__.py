"""Images: what instances are started from, built on this host and kept for ever.

In: the name of a recipe. Out: a squashfs file and the services that its boot manifest starts. A recipe's
file system (its layer) is made by mmdebstrap from the machine's own package sources, once; afterwards no
network is needed. Layers are known by the digest of all that goes into them. Knows nothing of running
instances. Start at recipes.py; build.py makes them; files/ is what they contain of ours.
"""
