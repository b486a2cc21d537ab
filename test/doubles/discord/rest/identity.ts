/** Who is asking: the bot, its application, users' own view (OAuth2), and where the gateway is. */
import { randomBytes } from "node:crypto";
import { ApplicationFlags } from "discord-api-types/v10";
import { Form } from "../rules/form.ts";
import { channelWire, guildSummaryWire, userWire } from "../wire.ts";
import { guildPermissions } from "../permissions.ts";
import type { User } from "../world.ts";
import type { RestContext } from "./context.ts";
import { unauthorized, unknownUser } from "./errors.ts";
import { bodyOf, ok, param } from "./request.ts";
import type { Answer, Call, Route } from "./request.ts";

/** Codes and tokens a test hands to users of the dashboard. */
export class Grants {
  readonly #codes = new Map<string, { user: User; scope: string }>();
  readonly #tokens = new Map<string, User>();
  /** Who is logged in to Discord in the browser that opens the authorise page. */
  browserUser: User | null = null;

  code(user: User, scope: string): string {
    const code = randomBytes(15).toString("base64url");
    this.#codes.set(code, { user, scope });
    return code;
  }

  /** A code is good once. */
  redeem(code: string): { token: string; scope: string } | null {
    const grant = this.#codes.get(code);
    if (!grant) return null;
    this.#codes.delete(code);
    const token = randomBytes(15).toString("base64url");
    this.#tokens.set(token, grant.user);
    return { token, scope: grant.scope };
  }

  userOf(token: string): User | null {
    return this.#tokens.get(token) ?? null;
  }
}

export interface IdentityOptions {
  readonly context: RestContext;
  readonly grants: Grants;
  readonly gatewayInfo: () => object;
}

export function identityRoutes(options: IdentityOptions): Route[] {
  const { context, grants } = options;
  const { world } = context;
  return [
    {
      method: "GET",
      path: "/gateway/bot",
      auth: "bot",
      handle: () => ok(options.gatewayInfo()),
    },
    {
      method: "GET",
      path: "/users/@me",
      auth: "bot-or-user",
      handle: (call) => ok({ ...userWire(callerOf(call)), locale: callerOf(call).locale }),
    },
    {
      method: "GET",
      path: "/users/@me/guilds",
      auth: "bot-or-user",
      handle: (call) => ok(guildsOf(context, callerOf(call))),
    },
    {
      method: "GET",
      path: "/users/:user",
      auth: "bot",
      handle: (call) => ok(userWire(userOf(context, param(call, "user")))),
    },
    {
      method: "POST",
      path: "/users/@me/channels",
      auth: "bot",
      handle: (call) => {
        const user = userOf(context, String(bodyOf(call)["recipient_id"]));
        return ok(channelWire(world, world.directChannel(user)));
      },
    },
    {
      method: "GET",
      path: "/applications/@me",
      auth: "bot",
      handle: () => ok(applicationWire(context)),
    },
    {
      method: "GET",
      path: "/oauth2/authorize",
      auth: "none",
      handle: (call) => authorise(grants, call),
    },
    { method: "POST", path: "/oauth2/token", auth: "none", handle: (call) => redeem(grants, call) },
  ];
}

export function applicationWire(context: RestContext) {
  const { world } = context;
  return {
    id: world.applicationId,
    name: world.bot.name,
    description: "",
    icon: null,
    bot: userWire(world.bot),
    bot_public: true,
    bot_require_code_grant: false,
    verify_key: "0".repeat(64),
    summary: "",
    team: null,
    flags: context.seesContent() ? ApplicationFlags.GatewayMessageContentLimited : 0,
    approximate_guild_count: world.liveGuilds().length,
  };
}

function callerOf(call: Call): User {
  if (!call.caller) throw unauthorized();
  return call.caller;
}

function userOf(context: RestContext, id: string): User {
  const user = context.world.users.get(id);
  if (!user) throw unknownUser();
  return user;
}

function guildsOf(context: RestContext, user: User): object[] {
  return [...context.world.guilds.values()]
    .filter((guild) => guild.members.has(user.id))
    .map((guild) => {
      const { id, name, icon, banner, features } = guildSummaryWire(guild);
      const permissions = guildPermissions(context.world, guild.id, user.id).toString();
      return { id, name, icon, banner, features, owner: guild.ownerId === user.id, permissions };
    });
}

/** Whoever sits at the browser agrees at once. */
function authorise(grants: Grants, call: Call): Answer {
  const { redirect_uri: redirect, state, scope = "identify" } = call.query;
  if (!grants.browserUser || redirect === undefined || !URL.canParse(redirect)) {
    throw unauthorized();
  }
  const target = new URL(redirect);
  target.searchParams.set("code", grants.code(grants.browserUser, scope));
  if (state !== undefined) target.searchParams.set("state", state);
  return { status: 302, headers: { location: target.href } };
}

function redeem(grants: Grants, call: Call): Answer {
  const { grant_type: type, code, redirect_uri: redirect } = bodyOf(call);
  const form = new Form();
  if (type !== "authorization_code") {
    form.fail(["grant_type"], "BASE_TYPE_CHOICES", "Value must be one of ('authorization_code').");
  }
  form.text(["redirect_uri"], redirect, { min: 1, max: 2_048, required: true });
  form.settle();
  const granted = grants.redeem(String(code));
  if (!granted) {
    const body = { error: "invalid_grant", error_description: 'Invalid "code" in request.' };
    return { status: 400, body };
  }
  return ok({
    access_token: granted.token,
    token_type: "Bearer",
    expires_in: 604_800,
    refresh_token: randomBytes(15).toString("base64url"),
    scope: granted.scope,
  });
}
