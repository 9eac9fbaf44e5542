"""Named worlds with the verdicts they must give, used at every level of the tests.

worlds.py is the language; every other module is a list of scenarios. `EVERY` is all of them.
"""

from scenarios import families, networks, rules, walkthroughs

EVERY = (*walkthroughs.SCENARIOS, *rules.SCENARIOS, *networks.SCENARIOS, *families.SCENARIOS)
