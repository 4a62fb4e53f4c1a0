"""The published evaluation protocol: sequences of public data sets in, figures beside the published table out."""
