"""What passes between the rooms: tables, identities, recipes, manifests, shards and models. Imports no other room."""
