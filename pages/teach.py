"""Teach: a room for a class, and a link that shows no more than needed."""

from ilora.lab.dashboard.navigation import title
from ilora.lab.dashboard.views.teach import link_builder, room_view

title("How do I use it in a class?")
room_view()
link_builder()
