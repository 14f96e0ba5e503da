"""What the user chose, as plain values that know no torch."""
