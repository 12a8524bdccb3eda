"""What the report and the pages of comparisons and mistakes share: templates, style, charts, words."""
