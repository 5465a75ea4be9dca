"""What the pages show, one file each, named as its page. Views do not import each other, but for the three of Compare."""
