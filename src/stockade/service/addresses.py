"""Private and public addresses: handed out, taken back."""
