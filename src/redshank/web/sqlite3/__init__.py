"""Django's SQLite, whose writers wait for each other more closely; its module `base` is what Django asks for."""
