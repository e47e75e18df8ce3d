"""Banks as Hasher-Matcher-Actioner (HMA) has them, for clients that were written for it."""
