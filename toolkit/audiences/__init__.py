"""Who is in each audience: payloads folded to memberships, their history, a preview."""
