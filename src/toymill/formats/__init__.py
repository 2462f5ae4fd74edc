"""From files to a specification: pyhf workspaces, patches, HS3."""
