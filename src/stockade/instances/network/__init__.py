"""What an instance finds around it: names, the time, and the metadata service.

In: the host's view as it changes, sockets opened in the services namespace, and a function that tells which
interface a service source address stands for (architecture D8: the datapath rewrites the source, so no
guest can pretend). Out: answers. Knows nothing of policy or the store. Start at services.py; names.py and
items.py are pure, and so are the answers in resolver.py, clock.py and metadata.py. askers.py says who asks and
what one asker may take.
"""
