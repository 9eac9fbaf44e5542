"""An answer's XML as a tree of names and texts, whatever its namespace (it changes with every API version)."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Node:
    """An element: local name, text, children."""

    __slots__ = ("children", "content", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.content = ""
        self.children: list[Node] = []

    def find(self, path: str) -> "Node | None":
        """The first element down `path` (`placement/availabilityZone`), None when a step is missing."""
        node: Node | None = self
        for step in path.split("/"):
            node = next((child for child in node.children if child.name == step), None) if node else None
        return node

    def text(self, path: str) -> str:
        """The text at `path`, empty when there is none."""
        node = self.find(path)
        return node.content.strip() if node else ""

    def items(self, path: str) -> "Iterator[Node]":
        """The elements of the list at `path`."""
        node = self.find(path)
        if node is not None:
            yield from (child for child in node.children if child.name == "item")


class AnswerUnreadable(Exception):
    """What came back is no XML document."""


def read_answer(document: bytes) -> Node:
    """Parse an answer; its root. Raises AnswerUnreadable."""
    import pyexpat

    top = Node("")
    open_nodes = [top]

    def start(name: str, _attributes: "dict[str, str]") -> None:
        node = Node(name.rpartition(" ")[2])
        open_nodes[-1].children.append(node)
        open_nodes.append(node)

    def end(_name: str) -> None:
        open_nodes.pop()

    def characters(text: str) -> None:
        open_nodes[-1].content += text

    def refuse_doctype(*_: object) -> None:
        raise AnswerUnreadable("a document type declaration")

    parser = pyexpat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = refuse_doctype
    parser.buffer_text = True
    try:
        parser.Parse(document, True)
    except pyexpat.ExpatError as err:
        raise AnswerUnreadable(str(err)) from err
    return top.children[0]
