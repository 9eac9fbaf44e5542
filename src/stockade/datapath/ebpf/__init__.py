"""The Linux datapath: policy in kernel maps, judged by the programs of bpf/ at tc.

In: HostPolicy and the devices to police. Out: verdicts in the kernel, counters, flow events. Must not know
EC2, accounts, instances or where policy comes from. Byte layouts stop at layout.py, kernel releases at
features.py, bpf(2) at syscall.py. Start at datapath.py, which joins the rest; settings.py says what it is told.
"""
