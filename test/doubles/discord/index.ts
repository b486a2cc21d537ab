/** A stand-in for Discord that unmodified clients talk to. Start reading at `double.ts`. */
export { DiscordDouble, Permission } from "./double.ts";
export type { DoubleOptions } from "./double.ts";
export type { DeliverySettings, RestFault } from "./faults.ts";
export { InteractionHandle } from "./handle.ts";
export { componentsOf } from "./interactions.ts";
export type { OptionValue, OptionValues } from "./interactions.ts";
export type { Mentions } from "./mentions.ts";
export type { Message, Ping, Version } from "./messages.ts";
export type { LogEntry } from "./rest/log.ts";
export type { BucketRule } from "./rest/ratelimit.ts";
export type { Channel, Guild, User } from "./world.ts";
