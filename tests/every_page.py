"""Every page in every state."""

from .cast import ADA, GRACE, Group


def pages_of_every_state(group: Group) -> dict[str, str]:
    """Each page, in each of its states, by the journey that leads there."""
    found: dict[str, str] = {}
    stranger = group.browser()
    found["landing"] = stranger.get("/").text
    found["sign-up"] = stranger.get("/signup?next=/admin").text
    found["sign-up, empty"] = stranger.post("/login").text
    found["sign-up, wrong PIN"] = stranger.sign_up(GRACE, "grace", "000000").text
    ada = group.join(ADA, "ada", bound=True)
    found["admin, nobody invited"] = ada.get("/admin").text
    ada.post("/invite", phone=f"+{GRACE}", username="grace")
    found["admin, invited"] = ada.get("/admin?new=2").text
    group.text(GRACE)
    found["admin, texted back"] = ada.get("/admin").text
    found["members"] = ada.get("/admin/members").text
    found["remove"] = ada.get("/members/1/remove").text
    found["sign out"] = ada.get("/members/1/sign-out").text
    found["last day"] = ada.get("/members/1/last-day").text
    found["journal"] = ada.get("/admin/journal").text
    found["devices"] = ada.get("/account").text
    found["logout"] = ada.get("/logout").text
    found["leave"] = ada.get("/leave").text
    found["admin, again"] = ada.get("/admin?again=2").text
    found["admin, wrong"] = ada.post("/invite", phone="x", username="!").text
    for _ in range(3):
        group.text(GRACE)
    found["admin, PIN refused"] = ada.get("/admin").text
    group.vonage.barred.add("12025550150")
    ada.post("/invite", phone="+12025550150")
    found["admin, text refused"] = ada.get("/admin?new=3").text
    found["home, admin"] = ada.get("/").text
    found["sign-up, signed in"] = ada.get("/signup").text
    grace = group.browser()
    grace.sign_up(GRACE, "grace", group.vonage.pin_of(GRACE))
    found["home"] = grace.get("/").text
    found["forbidden"] = grace.get("/admin").text
    found["not there"] = grace.get("/nothing").text
    found["other host"] = stranger.get("/", headers={"Host": "elsewhere.example"}).text
    return found
