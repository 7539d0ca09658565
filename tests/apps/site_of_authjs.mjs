// A site that says who is there. Its arguments: port, issuer, client id, client secret.
import { ExpressAuth, getSession } from "@auth/express"
import express from "express"

const [port, issuer, clientId, clientSecret] = process.argv.slice(2)
const auth = {
  secret: "of a test, and of nothing else",
  trustHost: true,
  providers: [{ id: "group", name: "Our group", type: "oidc", issuer, clientId, clientSecret }],
}
const site = express()
site.use("/auth/*", ExpressAuth(auth))
site.get("/", async (request, response) => {
  const session = await getSession(request, auth)
  response.type("text").send(`Hello ${session?.user?.name ?? "stranger"}`)
})
site.listen(Number(port), "127.0.0.1")
