"""Programs, which pages call apps: what members open with this sign-in. Admins register them and
say who may use which; home shows each member theirs. A proxy in front of one asks
`/auth?program=<name>`."""

from features.programs import commands, pages  # noqa: F401 - their routes
from features.programs.circles import change_member, join_circles
from features.programs.home import find_title_by_address
from features.programs.proxies import may_pass
from features.programs.room import admin_bp, bp
from features.programs.who import drop_from_programs, find_groups_for
from foundation.web.feature import Feature

bp.register_blueprint(admin_bp)


feature = Feature(
    bp,
    sentences={
        "program-name": "Use 1 to 30 letters (a to z), digits and -, such as wiki.",
        "program-taken": "There is an app with that name already.",
        "program-title": "Give it a title of 1 to 40 characters, in one line.",
        "no-such-member": "There is no member with that name.",
        "done-program-added": "The app is added. Below is how to set it up.",
        "done-program-changed": "Saved. It works from the next click.",
        "done-program-removed": "The app is removed. Its proxy now refuses everybody.",
        "done-member-chosen": "{name} may use it.",
        "done-asker-dropped": "Done. They may ask again.",
        "done-member-dropped": "Done. They can't open it any more.",
        "circle-name": "Use 1 to 30 letters (a to z), digits, - and _, such as family.",
        "circle-taken": "There is or was a circle with that name.",
        "circles-many": "There are 100 circles. Remove one first.",
        "circles-told": "An app can be told of 40 circles at most.",
        "done-circle-added": "The circle is there. Below you can say who is in it.",
        "done-circle-changed": "Saved. It works from the next click.",
        "done-circle-removed": "The circle is removed.",
    },
    events={
        "program_added": "{actor} added the app {subject}",
        "program_added, no actor": "The app {subject} was added from the command line",
        "program_changed": "{actor} changed the app {subject}",
        "program_removed": "{actor} removed the app {subject}",
        "program_removed, no actor": "The app {subject} was removed from the command line",
        "program_members_changed": "{actor} changed who may use {subject}",
        "program_asked": "{actor} asked to be let into {subject}",
        "circle_added": "{actor} made the circle {subject}",
        "circle_changed": "{actor} renamed the circle {subject}",
        "circle_removed": "{actor} removed the circle {subject}",
        "circle_members_changed": "{actor} changed who is in the circle {subject}",
        "program_members_changed, no actor": "The command line changed who may use {subject}",
    },
    admin_pages={"/admin/programs": "Apps"},
    slots={
        "home": "programs/_home.html",
        "member": "programs/_of_member.html",
        "members": "circles/_of_members.html",
        "invite": "circles/_of_invite.html",
    },
    change_member=change_member,
    joined=join_circles,
    find_groups=find_groups_for,
    find_title=find_title_by_address,
    ended=drop_from_programs,
    may_pass=may_pass,
)
