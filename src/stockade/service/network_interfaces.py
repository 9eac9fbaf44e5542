"""Network interfaces: how one comes to be, and how it goes."""
