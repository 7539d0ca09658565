"""Members: admins see who is in, and on each one's page what they have and may; sign somebody out,
remove somebody, say how long a guest stays. Everybody can leave."""

from features.members import leaving, people  # noqa: F401 - their routes
from features.members.room import admin_bp, bp
from foundation.web.feature import Feature

bp.register_blueprint(admin_bp)
feature = Feature(
    bp,
    sentences={
        "admin-stays": "An admin can't be removed, and can't leave. Take the name out of ADMINS in"
        " the settings first, and restart.",
        "done-forgotten": "The name is forgotten.",
        "done-left": "You've left the group. This device is signed out.",
        "done-member-changed": "Saved. It works from the next click.",
        "done-member-removed": "{name} is removed, and signed out everywhere.",
        "done-member-signed-out": "{name} is signed out everywhere.",
        "done-last-day": "{name} is a guest until the day you set.",
        "done-no-last-day": "{name} can stay for good.",
        "done-way-ended": "Done. It's out, with everything added from it.",
    },
    events={
        "left": "{actor} left the group",
        "removed": "{actor} removed {subject}",
        "removed, no actor": "{subject} was removed from the command line",
        "forgotten": "{actor} had the name of {subject} forgotten",
        "signed_out_everywhere": "{actor} signed {subject} out everywhere",
        "signed_out_everywhere, no actor": "{subject} was signed out everywhere from the command"
        " line",
        "signed_out_everywhere, no actor, no subject": "Everybody was signed out from the command"
        " line",
        "last_day_set": "{actor} changed how long {subject} can stay",
        "way_ended": "{actor} ended a way in of {subject}",
    },
    admin_pages={"/admin/members": "Members"},
    slots={"friends": "members/_see_all.html"},
)
