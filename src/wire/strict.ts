import type { EnumTypeDefinition, MessageTypeDefinition, PackageDefinition } from '@grpc/proto-loader';
import { AppError } from '../base/errors.ts';

/**
 * A guard against silent loss. The protobuf library drops a key that it does not know and turns a misspelt enum into 0,
 * both without a word: a DENY could become an ALLOW. Before anything is encoded, it is walked against the descriptors, and
 * what would be lost is `internal`: a defect of ours, never a caller's fault.
 *
 * Not checked: that at most one field of a oneof is set; the descriptors come without that. The converters build one.
 */
export type Check = (value: object) => void;

export function strictChecks(definitions: PackageDefinition): (messageName: string) => Check {
  const tables = new Map<string, TypeTable>();
  for (const [name, definition] of Object.entries(definitions)) {
    if (isMessage(definition)) addMessage(tables, name, definition.type as MessageDescriptor);
    else if (isEnum(definition)) tables.set(name, enumTable(definition.type as EnumDescriptor));
  }
  for (const table of tables.values()) link(table, tables);
  return (messageName) => {
    const table = tables.get(messageName);
    if (table === undefined) throw new AppError('internal', `No message ${messageName} in the proto files.`);
    return (value) => checkMessage(table, value, messageName);
  };
}

interface FieldDescriptor {
  readonly name: string;
  readonly label: string;
  readonly type: string;
  readonly typeName: string;
}

interface EnumDescriptor {
  readonly name: string;
  readonly value: readonly { readonly name: string }[];
}

interface MessageDescriptor {
  readonly name: string;
  readonly field: readonly FieldDescriptor[];
  readonly oneofDecl: readonly { readonly name: string }[];
  readonly nestedType: readonly MessageDescriptor[];
  readonly enumType: readonly EnumDescriptor[];
  readonly options: { readonly mapEntry?: boolean } | null;
}

interface Field {
  readonly descriptor: FieldDescriptor;
  target: TypeTable | undefined;
}

interface TypeTable {
  readonly name: string;
  readonly fields: ReadonlyMap<string, Field>;
  readonly oneofs: ReadonlySet<string>;
  readonly isMap: boolean;
  /** Of an enum: its values. */
  readonly values: ReadonlySet<string> | undefined;
}

function isMessage(definition: PackageDefinition[string]): definition is MessageTypeDefinition<object, object> {
  return 'format' in definition && String(definition.format) === 'Protocol Buffer 3 DescriptorProto';
}

function isEnum(definition: PackageDefinition[string]): definition is EnumTypeDefinition {
  return 'format' in definition && String(definition.format) === 'Protocol Buffer 3 EnumDescriptorProto';
}

function addMessage(tables: Map<string, TypeTable>, name: string, descriptor: MessageDescriptor): void {
  tables.set(name, {
    name,
    fields: new Map(descriptor.field.map((field) => [field.name, { descriptor: field, target: undefined }])),
    oneofs: new Set(descriptor.oneofDecl.map((oneof) => oneof.name)),
    isMap: descriptor.options?.mapEntry === true,
    values: undefined,
  });
  for (const nested of descriptor.nestedType) addMessage(tables, `${name}.${nested.name}`, nested);
  for (const nested of descriptor.enumType) tables.set(`${name}.${nested.name}`, enumTable(nested, `${name}.`));
}

function enumTable(descriptor: EnumDescriptor, scope = ''): TypeTable {
  return {
    name: scope + descriptor.name,
    fields: new Map(),
    oneofs: new Set(),
    isMap: false,
    values: new Set(descriptor.value.map((value) => value.name)),
  };
}

/** Type names are relative, as in the .proto file: sought from the innermost scope outwards. */
function link(table: TypeTable, tables: ReadonlyMap<string, TypeTable>): void {
  for (const field of table.fields.values()) {
    if (field.descriptor.type !== 'TYPE_MESSAGE' && field.descriptor.type !== 'TYPE_ENUM') continue;
    for (let scope = table.name; ; scope = scope.slice(0, Math.max(scope.lastIndexOf('.'), 0))) {
      field.target = tables.get(scope === '' ? field.descriptor.typeName : `${scope}.${field.descriptor.typeName}`);
      if (field.target !== undefined) break;
      if (scope === '') throw new AppError('internal', `No type ${field.descriptor.typeName} in the proto files.`);
    }
  }
}

function checkMessage(table: TypeTable, value: object, path: string): void {
  for (const [key, member] of Object.entries(value)) {
    if (member === undefined || member === null) continue;
    const field = table.fields.get(key);
    if (field !== undefined) checkField(field, member, path);
    else if (!table.oneofs.has(key)) throw lost(`${path} has no field "${key}"`);
  }
}

function checkField(field: Field, value: unknown, path: string): void {
  const { target, descriptor } = field;
  const at = `${path}.${descriptor.name}`;
  if (descriptor.label !== 'LABEL_REPEATED') {
    checkValue(target, value, at);
  } else if (target?.isMap === true) {
    if (typeof value !== 'object' || value === null) throw lost(`${at} is not a map`);
    for (const entry of Object.values(value)) checkValue(target.fields.get('value')?.target, entry, at);
  } else {
    if (!Array.isArray(value)) throw lost(`${at} is not a list`);
    for (const item of value) checkValue(target, item, at);
  }
}

function checkValue(target: TypeTable | undefined, value: unknown, path: string): void {
  if (target === undefined) return;
  if (target.values === undefined) {
    if (typeof value !== 'object' || value === null) throw lost(`${path} is not a message`);
    checkMessage(target, value, path);
  } else if (typeof value !== 'string' || !target.values.has(value)) {
    throw lost(`${path} has no value ${JSON.stringify(value)}`);
  }
}

function lost(what: string): AppError {
  return new AppError('internal', `A message cannot be encoded without loss: ${what}.`);
}
