// The projection language, in the words of KurrentDB's scripts.
//
// Runs once in a fresh context, before the script, and returns the functions that the host calls.
// What the script can name is set on the global object; everything else is in this closure.
//
// Invariants:
// - Nothing here or in a script reaches outside: the context has no host objects but these.
// - The same events give the same results: the clock is the event's, and there is no randomness.
// - A native function of the engine works for a bounded time: the engine interrupts loops of a
//   script and not its own, so arguments that would make those endless are refused, and bulk work
//   looks at the clock first.
(function (isOver) {
  'use strict';

  const { parse, stringify } = JSON;
  const { isArray } = Array;
  const { apply, ownKeys, construct } = Reflect;
  const { defineProperty, freeze, create } = Object;
  const has = Function.prototype.call.bind(Object.prototype.hasOwnProperty);
  const Text = String;

  // Elements of an array on which native functions work; more do not fit into the memory anyway.
  const LENGTH_MAX = 1 << 23;
  // Characters that a search in a text may compare.
  const COMPARISONS_MAX = 2 ** 32;
  // Lines and characters of `log` for one event.
  const LOG_LINES_MAX = 100;
  const LOG_LINE_CHARACTERS_MAX = 1000;

  // ---- What a script has instead of the engine's own ----

  // The engine looks at the clock at every 10,000th call only, which may each take a second.
  function check() {
    if (isOver()) throw new RangeError('the script has no time left');
  }

  function replace(owner, name, make) {
    const native = owner[name];
    const own = make(native);
    defineProperty(own, 'name', { value: typeof name === 'symbol' ? native.name : name });
    defineProperty(owner, name, { value: own, writable: true, configurable: true });
  }

  // A loop over `{ length: 2 ** 53 }` would not end and would not be interrupted.
  const UNBOUNDED = new Set(['constructor', 'push', 'pop', 'at', 'keys', 'values', 'entries']);
  for (const name of ownKeys(Array.prototype)) {
    const native = Array.prototype[name];
    if (typeof name !== 'string' || typeof native !== 'function' || UNBOUNDED.has(name)) continue;
    replace(Array.prototype, name, (native) => function (...given) {
      check();
      if (!isArray(this) || this.length > LENGTH_MAX) {
        throw new RangeError(`Array.prototype.${name} needs an array of at most ${LENGTH_MAX} elements`);
      }
      return apply(native, this, given);
    });
  }
  for (const name of ['indexOf', 'lastIndexOf', 'includes', 'split', 'replace', 'replaceAll']) {
    replace(Text.prototype, name, (native) => function (...given) {
      check();
      const [search] = given;
      if (typeof search === 'string' && search.length > 1
        && Text(this).length * search.length > COMPARISONS_MAX) {
        throw new RangeError(`String.prototype.${name} has too much to compare`);
      }
      return apply(native, this, given);
    });
  }

  // Work that grows with the size of a value.
  for (const [owner, names] of [
    [JSON, ['parse', 'stringify']],
    [Text.prototype, ['normalize', 'padEnd', 'padStart', 'repeat', 'toLowerCase', 'toUpperCase']],
    [Object.getPrototypeOf(Uint8Array.prototype), ['copyWithin', 'fill', 'includes', 'indexOf', 'join',
      'lastIndexOf', 'reverse', 'set', 'slice', 'sort', 'toReversed', 'toSorted', 'toString', 'with']],
  ]) {
    for (const name of names) {
      if (typeof owner[name] !== 'function') continue;
      replace(owner, name, (native) => function (...given) {
        check();
        return apply(native, this, given);
      });
    }
  }

  // Time of the event, in milliseconds.
  let now = 0;
  const EngineDate = Date;
  function ProjectionDate(...given) {
    if (new.target === undefined) return new EngineDate(now).toString();
    return construct(EngineDate, given.length === 0 ? [now] : given, new.target);
  }
  defineProperty(ProjectionDate, 'name', { value: 'Date' });
  ProjectionDate.prototype = EngineDate.prototype;
  ProjectionDate.prototype.constructor = ProjectionDate;
  ProjectionDate.now = () => now;
  ProjectionDate.parse = EngineDate.parse;
  ProjectionDate.UTC = EngineDate.UTC;
  globalThis.Date = ProjectionDate;

  Math.random = function random() {
    throw new Error('Math.random is not there: the same events must give the same results');
  };
  // They share memory with threads, and can wait for them.
  delete globalThis.Atomics;
  delete globalThis.SharedArrayBuffer;

  // ---- Events, as handlers see them ----

  // Parsed at most once, and only if the script looks. `undefined` for what is no JSON.
  function parsed(text) {
    if (text === null || text === '') return undefined;
    try {
      return parse(text);
    } catch {
      return undefined;
    }
  }

  const lazy = (raw, cache) => ({
    get() {
      if (!has(this, cache)) {
        const value = raw === 'bodyRaw' && !this.isJson ? undefined : parsed(this[raw]);
        defineProperty(this, cache, { value, writable: true });
      }
      return this[cache];
    },
    set(value) {
      defineProperty(this, cache, { value, writable: true });
    },
  });
  const eventPrototype = create(Object.prototype, {
    body: lazy('bodyRaw', '_body'),
    data: lazy('bodyRaw', '_body'),
    metadata: lazy('metadataRaw', '_metadata'),
    linkMetadata: lazy('linkMetadataRaw', '_linkMetadata'),
    toJSON: {
      value: function toJSON() {
        const { body, metadata, linkMetadata } = this;
        return { ...this, body, data: body, metadata, linkMetadata };
      },
    },
  });

  function eventOf(streamId, eventType, eventId, sequenceNumber, isJson, bodyRaw, metadataRaw,
    linkMetadataRaw, category, created, partition) {
    now = created;
    const event = create(eventPrototype);
    event.isJson = isJson;
    event.bodyRaw = bodyRaw;
    event.metadataRaw = metadataRaw;
    event.linkMetadataRaw = linkMetadataRaw;
    event.sequenceNumber = sequenceNumber;
    event.streamId = streamId;
    event.eventType = eventType;
    event.eventId = eventId;
    event.category = category;
    event.partition = partition;
    event.created = new EngineDate(created).toISOString();
    return event;
  }

  // ---- The definition, which the top level of the script makes ----

  const definition = {
    from: null,
    names: [],
    partitions: 'none',
    handlers: [],
    handlesAny: false,
    handlesDeleted: false,
    hasSharedState: false,
    outputsState: false,
    resultStream: null,
    partitionResultStream: null,
    includesLinks: false,
  };
  // Handlers that are no event types.
  const SPECIAL = new Set(['$init', '$initShared', '$any', '$deleted']);
  const special = create(null);
  let handlers = null;
  let partitionKey = null;
  const transforms = [];
  let isDefining = true;

  function defining(what) {
    if (!isDefining) throw new Error(`${what} belongs to the top level of the script`);
  }

  function needs(kind, value, what) {
    if (typeof value !== kind) throw new TypeError(`${what} needs a ${kind}; got ${typeof value}`);
    return value;
  }

  function namesOf(given, what) {
    const names = given.length === 1 && isArray(given[0]) ? given[0] : given;
    if (names.length === 0) throw new TypeError(`${what} needs a name`);
    return names.map((name) => {
      needs('string', name, what);
      if (name === '') throw new TypeError(`${what} needs a name that is not empty`);
      return name;
    });
  }

  function select(from, names, what) {
    defining(what);
    if (definition.from !== null) throw new Error('a script selects its events once');
    definition.from = from;
    definition.names = names;
    return selected;
  }

  function partitioned(kind, what) {
    defining(what);
    if (definition.partitions !== 'none') throw new Error('a script partitions its events once');
    definition.partitions = kind;
    return selected;
  }

  const selected = freeze({
    foreachStream() {
      return partitioned('stream', 'foreachStream');
    },
    partitionBy(key) {
      partitionKey = needs('function', key, 'partitionBy');
      return partitioned('key', 'partitionBy');
    },
    when(given) {
      defining('when');
      if (handlers !== null) throw new Error('a script has one `when`');
      if (given === null || typeof given !== 'object') throw new TypeError('when needs an object');
      handlers = create(null);
      for (const name of Object.keys(given)) {
        const handler = needs('function', given[name], `the handler \`${name}\``);
        if (SPECIAL.has(name)) {
          special[name] = handler;
        } else {
          handlers[name] = handler;
          definition.handlers.push(name);
        }
      }
      definition.handlesAny = special.$any !== undefined;
      definition.handlesDeleted = special.$deleted !== undefined;
      definition.hasSharedState = special.$initShared !== undefined;
      return handled;
    },
    outputState() {
      return handled.outputState();
    },
  });

  const handled = freeze({
    transformBy(transform) {
      defining('transformBy');
      needs('function', transform, 'transformBy');
      transforms.push({ isFilter: false, apply: transform });
      return handled;
    },
    filterBy(predicate) {
      defining('filterBy');
      needs('function', predicate, 'filterBy');
      transforms.push({ isFilter: true, apply: predicate });
      return handled;
    },
    outputState() {
      defining('outputState');
      definition.outputsState = true;
      return handled;
    },
    outputTo(stream, partitionStream) {
      defining('outputTo');
      definition.outputsState = true;
      definition.resultStream = needs('string', stream, 'outputTo');
      if (partitionStream !== undefined) {
        definition.partitionResultStream = needs('string', partitionStream, 'outputTo');
      }
      return handled;
    },
  });

  const language = {
    fromAll: () => select('all', [], 'fromAll'),
    fromStream: (name) => select('streams', namesOf([name], 'fromStream'), 'fromStream'),
    fromStreams: (...given) => select('streams', namesOf(given, 'fromStreams'), 'fromStreams'),
    fromCategory: (...given) => select('categories', namesOf(given, 'fromCategory'), 'fromCategory'),
    fromCategories: (...given) =>
      select('categories', namesOf(given, 'fromCategories'), 'fromCategories'),
    options(given) {
      defining('options');
      if (given === null || typeof given !== 'object') throw new TypeError('options needs an object');
      for (const name of Object.keys(given)) {
        const value = given[name];
        switch (name) {
          case 'resultStreamName':
            definition.resultStream = needs('string', value, name);
            break;
          case '$includeLinks':
            definition.includesLinks = needs('boolean', value, name);
            break;
          // Events come in the order of the whole store, so nothing is reordered or waited for.
          case 'reorderEvents':
            needs('boolean', value, name);
            break;
          case 'processingLag':
            needs('number', value, name);
            break;
          case 'biState':
            needs('boolean', value, name);
            break;
          default:
            throw new Error(`there is no option \`${name}\``);
        }
      }
    },
    emit(stream, type, body, metadata) {
      output('emit', stream, type, textOf(body), true, metadata);
    },
    copyTo(stream, event, metadata) {
      const target = targetOf('copyTo', event);
      output('copyTo', stream, target.eventType, target.bodyRaw, target.isJson, metadata);
    },
    linkTo(stream, event, metadata) {
      const target = targetOf('linkTo', event);
      const place = `${target.sequenceNumber}@${target.streamId}`;
      output('linkTo', stream, '$>', place, false, metadata);
    },
    linkStreamTo(stream, linked, metadata) {
      output('linkStreamTo', stream, '$@', needs('string', linked, 'linkStreamTo'), false, metadata);
    },
    log(...given) {
      if (lines.length >= LOG_LINES_MAX) return;
      const words = given.map((word) => (typeof word === 'string' ? word : textOf(word)));
      lines.push(words.join(' ').slice(0, LOG_LINE_CHARACTERS_MAX));
    },
  };
  for (const name of Object.keys(language)) {
    defineProperty(globalThis, name, { value: language[name], enumerable: true });
  }

  // ---- Outputs of one event ----

  let emitted = [];
  let lines = [];
  let isHandling = false;

  function textOf(value) {
    const text = stringify(value);
    return text === undefined ? 'null' : text;
  }

  function targetOf(what, event) {
    if (event === null || typeof event !== 'object' || typeof event.streamId !== 'string') {
      throw new TypeError(`${what} needs an event as its second argument`);
    }
    return event;
  }

  function output(what, stream, type, data, isJson, metadata) {
    if (!isHandling) throw new Error(`${what} works in handlers only`);
    if (needs('string', stream, what) === '') throw new TypeError(`${what} needs the name of a stream`);
    if (needs('string', type, what) === '') throw new TypeError(`${what} needs an event type`);
    const about = metadata === undefined || metadata === null ? null : textOf(metadata);
    emitted.push({ stream, type, data, isJson, metadata: about });
  }

  // ---- State, and what the host calls ----

  let state;
  let shared;

  function initial(name) {
    return special[name] === undefined ? {} : special[name]();
  }

  // Calls a handler, and takes the state from what it returns or, if it returns nothing, from what
  // it was given.
  function step(handler, ...rest) {
    isHandling = true;
    try {
      if (definition.hasSharedState) {
        const both = [state, shared];
        const returned = handler(both, ...rest);
        const next = returned === undefined ? both : returned;
        if (!isArray(next)) throw new TypeError('a handler with a shared state returns both states');
        [state, shared] = next;
      } else {
        const returned = handler(state, ...rest);
        if (returned !== undefined) state = returned;
      }
    } finally {
      isHandling = false;
    }
  }

  function outputs() {
    if (emitted.length === 0 && lines.length === 0) return null;
    const text = stringify({ emitted, lines });
    emitted = [];
    lines = [];
    return text;
  }

  return {
    // Ends the top level of the script.
    define() {
      if (definition.from === null) throw new Error('the script selects no events');
      if (handlers === null) throw new Error('the script has no handlers: `when` is missing');
      if (definition.handlesDeleted && definition.partitions !== 'stream') {
        throw new Error('`$deleted` needs `foreachStream`');
      }
      isDefining = false;
      lines = [];
      return stringify(definition);
    },
    partition(...given) {
      const event = eventOf(...given);
      const key = partitionKey(event);
      return key === undefined || key === null ? '' : Text(key);
    },
    load(stateText, sharedText) {
      state = stateText === null ? initial('$init') : parse(stateText);
      if (definition.hasSharedState) {
        shared = sharedText === null ? initial('$initShared') : parse(sharedText);
      }
    },
    handle(...given) {
      const event = eventOf(...given);
      step(handlers[event.eventType] ?? special.$any, event);
      return outputs();
    },
    deleted(streamId, isTombstone, created) {
      now = created;
      step(special.$deleted, { streamId, partition: streamId, isSoftDelete: !isTombstone });
      return outputs();
    },
    state: () => textOf(state),
    shared: () => textOf(shared),
    result() {
      let result = state;
      for (const transform of transforms) {
        if (!transform.isFilter) result = transform.apply(result);
        else if (!transform.apply(result)) return null;
        if (result === undefined || result === null) return null;
      }
      return textOf(result);
    },
  };
})
