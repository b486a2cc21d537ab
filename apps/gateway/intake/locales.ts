/**
 * Which language to answer a person in. A message carries no locale, so the one of the person's
 * last command or button is remembered, then the community's, then the configured one.
 * In memory and bounded: a new process starts with less knowledge and asks nobody.
 */
import type { Translator } from "#infra/i18n/i18n.ts";

const usersMax = 10_000;
const communitiesMax = 10_000;

export class Locales {
  readonly #translator: Translator;
  readonly #fallback: string;
  readonly #users = new Map<string, string>();
  readonly #communities = new Map<string, string>();

  constructor(translator: Translator, fallback: string) {
    this.#translator = translator;
    this.#fallback = fallback;
  }

  /** Remembers and returns the locale of an interaction's user. */
  fromInteraction(userId: string, locale: string): string {
    const resolved = this.#translator.resolve(locale);
    remember(this.#users, { key: userId, value: resolved, max: usersMax });
    return resolved;
  }

  /** A community's preferred locale is a choice only where the community feature is on. */
  learnCommunity(community: { id: string; preferred_locale: string; features: string[] }): void {
    if (!community.features.includes("COMMUNITY")) return;
    const value = this.#translator.resolve(community.preferred_locale);
    remember(this.#communities, { key: community.id, value, max: communitiesMax });
  }

  ofMessage(userId: string, communityId: string | undefined): string {
    const user = this.#users.get(userId);
    const community = communityId === undefined ? undefined : this.#communities.get(communityId);
    return user ?? community ?? this.#fallback;
  }
}

/** Sets and moves to the end; the one longest untouched goes. */
function remember(
  map: Map<string, string>,
  entry: { readonly key: string; readonly value: string; readonly max: number },
): void {
  map.delete(entry.key);
  map.set(entry.key, entry.value);
  if (map.size <= entry.max) return;
  const [oldest] = map.keys();
  if (oldest !== undefined) map.delete(oldest);
}
