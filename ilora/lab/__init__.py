"""The laboratory around the science: runs on disk, analysis, captions, figures, lessons, suites, command line and pages.

May import everything in `ilora`; nothing outside this folder imports it, but for the command line's entry point.
"""
