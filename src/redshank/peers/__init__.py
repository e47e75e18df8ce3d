"""Questions between installations: was the owner of this token suspended at yours? Neither shows the other its users."""
