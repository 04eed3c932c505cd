"""Small files in the formats of microscopes, written by hand where no package writes them."""

import struct

import numpy as np
import tifffile


def write_czi(path, values, scenes=1):
    """(T, Z, C, Y, X) uint16 as CZI; scene n is the values plus n."""
    from pylibCZIrw import czi

    with czi.create_czi(str(path)) as document:
        for scene in range(scenes):
            for t, z, c in np.ndindex(values.shape[:3]):
                plane = {"T": t, "Z": z, "C": c}
                place = (scene * 2 * values.shape[-1], 0)
                document.write(values[t, z, c][..., None] + np.uint16(scene), plane=plane, scene=scene, location=place)
        document.write_metadata("x", channel_names={0: "DAPI", 1: "GFP"}, scale_x=1e-7, scale_y=1e-7, scale_z=3e-7)


def _lite(name, value):
    """One entry of Nikon's "CLx Lite variant"."""
    kind, content = {
        bool: lambda: (1, struct.pack("<B", value)),
        int: lambda: (3, struct.pack("<I", value)),
        float: lambda: (6, struct.pack("<d", value)),
        str: lambda: (8, (value + "\0").encode("utf-16-le")),
        dict: lambda: (11, b"".join(_lite(key, item) for key, item in value.items())),
    }[type(value)]()
    head = struct.pack("<BB", kind, len(name) + 1) + (name + "\0").encode("utf-16-le")
    if kind == 11:
        length = len(head) + 12 + len(content)
        return head + struct.pack("<IQ", len(value), length) + content + bytes(8 * len(value))
    return head + content


def write_nd2(path, values, named=True):
    """(P, Z, C, Y, X) uint16 as ND2 of version 3; without what `named` adds, nd2 0.12 cannot read the metadata."""
    positions, depth, channels, height, width = values.shape
    attributes = {"uiBpcInMemory": 16, "uiBpcSignificant": 16, "uiComp": channels, "uiHeight": height, "uiWidth": width}
    attributes |= {"uiWidthBytes": 2 * width * channels, "uiSequenceCount": positions * depth, "eCompression": 2}
    probe = {"pFluorescentProbe": {"m_uiColor": 0}} if named else {}
    planes = {f"a{n}": {"sDescription": ("DAPI", "GFP")[n], "uiCompCount": 1, **probe} for n in range(channels)}
    picture = {"bCalibrated": True, "dCalibration": 0.1, "sPicturePlanes": {"uiCount": channels, "sPlane": planes}}
    points = {f"i{n:010}": {"dPosX": float(n), "dPosY": 0.0, "dPosZ": 0.0} for n in range(positions)}
    stack = {"eType": 4, "uLoopPars": {"uiCount": depth, "dZStep": 0.3, "dZLow": 0.0, "dZHigh": 1.0, "dZHome": 0.0}}
    loops = {"eType": 2, "uLoopPars": {"Points": points}, "ppNextLevelEx": {"i0000000000": stack}}
    chunks = {
        "ImageAttributesLV!": _lite("SLxImageAttributes", attributes),
        "ImageMetadataSeqLV|0!": _lite("SLxPictureMetadata", picture),
        "ImageMetadataLV!": _lite("SLxExperiment", loops),
    }
    for number, frame in enumerate(values.reshape(-1, *values.shape[2:])):
        chunks[f"ImageDataSeq|{number}!"] = bytes(8) + np.moveaxis(frame, 0, -1).astype("<u2").tobytes()
    with open(path, "wb") as file:

        def write(name, data, reserved):
            place = file.tell()
            file.write(
                struct.pack("<IIQ", 0x0ABECEDA, reserved, len(data)) + name.encode().ljust(reserved, b"\0") + data
            )
            return place

        write("ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver3.0".ljust(64, b"\0"), 32)
        table = b""
        for name, data in chunks.items():
            # Pixels begin 4096 bytes after their chunk.
            place = write(name, data, 4072 if name.startswith("ImageDataSeq") else 64)
            table += name.encode() + struct.pack("<QQ", place, len(data))
        signature = b"ND2 CHUNK MAP SIGNATURE 0000001!"
        place = write("ND2 FILEMAP SIGNATURE NAME 0001!", table + signature, 32)
        file.write(signature + struct.pack("<Q", place))


def write_lif(path, images):
    """A list of (Z, C, Y, X) uint16 as LIF of version 2."""
    elements, blocks = "", b""
    for number, values in enumerate(images):
        depth, channels, height, width = values.shape
        plane = 2 * height * width
        colours = "".join(
            f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="16" NameOfMeasuredQuantity="" Min="0" '
            f'Max="1" Unit="" LUTName="{("Blue", "Green")[c]}" IsLUTInverted="0" BytesInc="{c * plane}" BitInc="0"/>'
            for c in range(channels)
        )
        sizes = ((1, width, 2, 1e-7), (2, height, 2 * width, 1e-7), (3, depth, channels * plane, 3e-7))
        dimensions = "".join(
            f'<DimensionDescription DimID="{i}" NumberOfElements="{n}" Origin="0" Length="{(n - 1) * step}" Unit="m" '
            f'BytesInc="{skip}" BitInc="0"/>'
            for i, n, skip, step in sizes
        )
        elements += (
            f'<Element Name="field {number}"><Data><Image><ImageDescription><Channels>{colours}</Channels><Dimensions>'
            f"{dimensions}</Dimensions></ImageDescription></Image></Data>"
            f'<Memory Size="{values.nbytes}" MemoryBlockID="MemBlock_{number}"/></Element>'
        )
        name = f"MemBlock_{number}"
        blocks += struct.pack("<IIBQBI", 0x70, 0, 0x2A, values.nbytes, 0x2A, len(name)) + name.encode("utf-16-le")
        blocks += values.astype("<u2").tobytes()
    xml = f'<LMSDataContainerHeader Version="2"><Element Name="x"><Children>{elements}</Children></Element>'
    xml += "</LMSDataContainerHeader>"
    head = struct.pack("<IIBI", 0x70, 2 * len(xml) + 5, 0x2A, len(xml))
    path.write_bytes(head + xml.encode("utf-16-le") + blocks)


def write_oif(path, values):
    """(C, Z, Y, X) uint16 as OIF, a text file and a folder of its planes."""
    folder = path.with_name(f"{path.name}.files")
    folder.mkdir()
    for c, z in np.ndindex(values.shape[:2]):
        tifffile.imwrite(folder / f"s_C{c + 1:03}Z{z + 1:03}.tif", values[c, z], metadata=None)
    text = '[ProfileSaveInfo]\nName=OIF\nVersion=1.0\n[Axis 3 Parameters Common]\nInterval=300\nUnitName="nm"\n'
    text += "[Reference Image Parameter]\nWidthConvertValue=0.1\nHeightConvertValue=0.1\n"
    path.write_bytes(text.encode("utf-16"))
