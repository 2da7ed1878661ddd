"""Small files made to the published layouts of sensors' products."""

import h5py
import numpy as np
import rasterio
import xarray

PRISMA_WAVELENGTHS = {  # nm, descending, of a product of 2020; 0: not measured
    "Vnir": [0.0, 0.0, 972.65137, 962.2815, 951.3803, 939.87714, 929.4021, 919.1934],
    "Swir": [1008.17413, 998.38153, 988.4178, 978.74365, 969.39557, 959.5276, 951.01624, 0.0],
}


def write_prisma(path, vnir, swir, level="L2D", *, wavelengths=None, flags=None, **changes):
    """Writes cubes `[rows, bands, columns]`, uint16; an attribute that becomes None is left out."""
    wavelengths = PRISMA_WAVELENGTHS if wavelengths is None else wavelengths
    rows, _, columns = (vnir if vnir is not None else swir).shape
    attributes = {
        "Product_ID": b"PRS_L2D_STD",
        "Processing_Level": level.encode(),
        "Sun_zenith_angle": np.float32(31.5),
        "Epsg_Code": np.uint64(32632),
        "Product_ULcorner_easting": 5e5,
        "Product_ULcorner_northing": 4.6e6,
        "Product_LRcorner_easting": 5e5 + 30 * (columns - 1),
        "Product_LRcorner_northing": 4.6e6 - 30 * (rows - 1),
        "Product_center_lat": np.float32(41.5),
    }
    for name, low, high in (("Vnir", 0.0, 1.2), ("Swir", 0.001, 0.9)):
        waves = np.asarray(wavelengths[name], np.float32)
        attributes[f"List_Cw_{name}"] = waves
        attributes[f"List_Fwhm_{name}"] = np.where(waves > 0, 10 + waves / 1000, 0)
        given = (waves > 0).astype("u1") if flags is None else flags[name]
        attributes[f"List_Cw_{name}_Flags"] = np.asarray(given, "u1")
        if level == "L1":
            attributes |= {
                f"ScaleFactor_{name}": np.float32(100),
                f"Offset_{name}": np.float32(0.25),
            }
        else:
            attributes |= {f"L2Scale{name}Min": np.float32(low)}
            attributes |= {f"L2Scale{name}Max": np.float32(high)}
    attributes |= changes
    y, x = np.mgrid[:rows, :columns]
    angles = {"Latitude": 41.5 - 3e-4 * y + 1e-5 * x, "Longitude": 12.5 + 4e-4 * x + 1e-5 * y}
    with h5py.File(path, "w") as file:
        for name, value in attributes.items():
            if value is not None:
                file.attrs[name] = value
        swath = file.create_group(f"HDFEOS/SWATHS/PRS_{level}_HCO")
        for name, cube in (("VNIR", vnir), ("SWIR", swir)):
            if cube is not None:
                swath[f"Data Fields/{name}_Cube"] = cube
            for angle, values in angles.items():
                end = f"_{name}" if level == "L1" else ""
                if f"Geolocation Fields/{angle}{end}" not in swath:
                    swath[f"Geolocation Fields/{angle}{end}"] = values.astype("f4")
        file[f"HDFEOS/SWATHS/PRS_{level}_PCO/Data Fields/Cube"] = np.zeros((6, 6), "u2")
    return path


def dlr_xml(mission, bands, expected=None, num_vnir="0", **columns):
    """The XML of a product with as many bands; `expected` are channels, counted from 1."""
    k = np.arange(bands)
    columns = {"wavelength": 401 + 2.5 * k, "fwhm": 3.5 + 0 * k, "gain": 1e-4 + 0 * k,
               "offset": 0.0 * k} | columns  # fmt: skip
    names = ("wavelengthCenterOfBand", "FWHMOfBand", "GainOfBand", "OffsetOfBand")
    if mission == "DESIS":
        names = ("wavelengthCenterOfBand", "wavelengthWidthOfBand", "gainOfBand", "offsetOfBand")
    lines = []
    for n, values in enumerate(zip(*columns.values(), strict=True)):
        inner = "".join(f"<{a}>{float(b)!r}</{a}>" for a, b in zip(names, values, strict=True))
        if mission == "DESIS":
            lines.append(f"<band><bandNumber>{n + 1}</bandNumber>{inner}</band>")
        else:
            lines.append(f'<bandID number="{n + 1}">{inner}</bandID>')
    part = "bandCharacterization" if mission == "DESIS" else "bandCharacterisation"
    quality = ""
    if expected is not None and mission == "EnMAP":
        middle = sorted(expected)[: len(expected) // 2], sorted(expected)[len(expected) // 2 :]
        for detector, channels in zip(("vnir", "swir"), middle, strict=True):
            listed = ",".join(map(str, channels))
            quality += (
                f"<{detector}ProductQuality><expectedChannelsList>{listed}</expectedChannelsList>"
                f"</{detector}ProductQuality>"
            )
    return (
        "<level_X><base><level>L2A</level></base><product><bandStatistics>"
        '<bandID number="1"><mean>1</mean></bandID></bandStatistics></product><specific>'
        f"<numberOfVNIRBands>{num_vnir}</numberOfVNIRBands>"
        f"<backgroundValue>-32768</backgroundValue><{part}>{''.join(lines)}</{part}>{quality}"
        "</specific></level_X>"
    )


def write_dlr(folder, cube, mission, **described):
    """Writes a product of EnMAP or DESIS; gives the path of its image."""
    names = {
        "EnMAP": ("ENMAP01-____L2A-DT1_V1", ".TIF", ".XML"),
        "DESIS": ("DESIS-HSI-L2A-DT1", ".tif", ".xml"),
    }
    stem, image, described_by = names[mission]
    path = folder / f"{stem}-SPECTRAL_IMAGE{image}"
    _write_image(path, cube)
    xml = dlr_xml(mission, cube.shape[2], **described)
    (folder / f"{stem}-METADATA{described_by}").write_text(xml)
    return path


def write_enmap_l1b(folder, vnir, swir, **described):
    """Writes the images of both detectors of EnMAP's level 1B, and their XML; gives the paths."""
    stem = "ENMAP01-____L1B-DT1_V1"
    paths = [folder / f"{stem}-SPECTRAL_IMAGE_{name}.TIF" for name in ("VNIR", "SWIR")]
    for path, cube in zip(paths, (vnir, swir), strict=True):
        _write_image(path, cube)
    bands = vnir.shape[2] + swir.shape[2]
    xml = dlr_xml("EnMAP", bands, **{"num_vnir": vnir.shape[2], **described})
    (folder / f"{stem}-METADATA.XML").write_text(xml)
    return paths


def _write_image(path, cube):
    profile = {"driver": "GTiff", "count": cube.shape[2], "dtype": "int16"}
    profile |= {"height": cube.shape[0], "width": cube.shape[1], "interleave": "pixel"}
    place = rasterio.Affine(30, 0, 4e5, 0, -30, 5e6)
    crs = rasterio.crs.CRS.from_epsg(32633)
    with rasterio.open(path, "w", crs=crs, transform=place, **profile) as dataset:
        dataset.write(cube.transpose(2, 0, 1))


def write_emit(path, shape, name="reflectance", good=None):
    """Writes a swath of EMIT; gives its path, cube, latitude and longitude, one of them unknown."""
    rng = np.random.default_rng(0)
    cube = rng.random(shape, np.float32)
    cube[0, 0] = -9999
    y, x = np.mgrid[: shape[0], : shape[1]]
    latitude, longitude = 34.5 - 5e-4 * y, -117.5 + 6e-4 * x + 1e-4 * y
    latitude[1, 1] = -9999
    swath = ("downtrack", "crosstrack")
    crs = rasterio.crs.CRS.from_epsg(4326).to_wkt()
    root = xarray.Dataset(
        {name: ((*swath, "bands"), cube, {"_FillValue": np.float32(-9999)})},
        attrs={
            "title": "EMIT L2A",
            "spatial_ref": crs,
            "geotransform": [-117.6, 5e-4, 0, 34.6, 0, -5e-4],
        },
    )
    waves = (381 + 7.4 * np.arange(shape[2])).astype("f4")
    parameters = xarray.Dataset({
        "wavelengths": ("bands", waves, {"units": "nm"}),
        "fwhm": ("bands", np.full(shape[2], 8.4, "f4"), {"units": "nm"}),
    })  # fmt: skip
    if good is not None:
        parameters["good_wavelengths"] = ("bands", np.asarray(good, "f4"))
    table = rng.integers(0, 3, (shape[0] + 2, shape[1] + 3)).astype("i4")
    location = xarray.Dataset({
        "lat": (swath, latitude, {"_FillValue": -9999.0, "units": "degrees north"}),
        "lon": (swath, longitude, {"_FillValue": -9999.0, "units": "degrees east"}),
        "elev": (swath, 100.0 + y),
        "glt_x": (("ortho_y", "ortho_x"), table),
        "glt_y": (("ortho_y", "ortho_x"), table),
    })  # fmt: skip
    root.to_netcdf(path, engine="h5netcdf")
    parameters.to_netcdf(path, engine="h5netcdf", group="sensor_band_parameters", mode="a")
    location.to_netcdf(path, engine="h5netcdf", group="location", mode="a")
    return path, cube, latitude, longitude


def write_aviris_3(
    path, cube, *, orthorectified, wavelengths, fwhm, corner=(4e5, 5e6), pixel_m=4.0
):
    """Writes AVIRIS-3's reflectance on a map, or its radiance as measured, with its place.

    `corner` is the centre of the first pixel. Gives latitude and longitude, which the first lacks.
    """
    rows, columns, _ = cube.shape
    crs = rasterio.crs.CRS.from_epsg(32611).to_wkt()
    (x, y), half = corner, pixel_m / 2
    outer = (x - half, pixel_m, 0.0, y + half, 0.0, -pixel_m)
    mapping = {"spatial_ref": crs, "crs_wkt": crs, "GeoTransform": " ".join(map(repr, outer))}
    root = xarray.Dataset({"transverse_mercator": ((), "", mapping)})
    dims, name = ("lines", "samples"), "radiance"
    down, right = np.mgrid[:rows, :columns]
    latitude, longitude = 34 - 1e-5 * down, -118 + 1e-5 * right + 1e-6 * down
    if orthorectified:
        dims, name = ("northing", "easting"), "reflectance"
        northing, easting = y - pixel_m * np.arange(rows), x + pixel_m * np.arange(columns)
        root = root.assign_coords(northing=northing, easting=easting)
    else:
        root["lat"], root["lon"] = (dims, latitude), (dims, longitude)
    group = xarray.Dataset({
        name: (("wavelength", *dims), cube.transpose(2, 0, 1), {"_FillValue": np.float32(-9999)}),
        "wavelength": ("wavelength", wavelengths.astype("f4"), {"units": "nm"}),
        "fwhm": ("wavelength", fwhm.astype("f4")),
    })  # fmt: skip
    if orthorectified:
        group[name].attrs["grid_mapping"] = "transverse_mercator"
    root.to_netcdf(path, engine="h5netcdf")
    group.to_netcdf(path, engine="h5netcdf", group=name, mode="a")
    return latitude, longitude


def write_aviris_ng(folder, cube, *, wavelengths, fwhm, map_info, interleave="bil", level="rfl"):
    """Writes AVIRIS-NG's orthocorrected reflectance or radiance; gives header and raw file.

    `map_info` are easting, northing, pixel size in metres and rotation in degrees.
    """
    rows, columns, bands = cube.shape
    axes = {"bil": (0, 2, 1), "bip": (0, 1, 2), "bsq": (2, 0, 1)}[interleave]
    raw = folder / f"ang20180814t224053_{level}_v2r2_img"
    raw.write_bytes(cube.transpose(axes).astype("<f4").tobytes())
    waves, widths = (", ".join(map(repr, values.tolist())) for values in (wavelengths, fwhm))
    east, north, pixel_m, rotation = map_info
    header = raw.with_name(raw.name + ".hdr")
    header.write_text(
        f"ENVI\ndescription = {{\n  AVIRIS-NG}}\nsamples = {columns}\nlines = {rows}\n"
        f"bands = {bands}\nheader offset = 0\nfile type = ENVI Standard\ndata type = 4\n"
        f"interleave = {interleave}\nbyte order = 0\nmap info = {{ UTM , 1.000 , 1.000 , "
        f"{east!r} , {north!r} , {pixel_m!r} , {pixel_m!r} , 6 , North , WGS-84 , units=Meters , "
        f"rotation={rotation:.8f} }}\nwavelength units = Nanometers\nwavelength = {{ {waves} }}\n"
        f"fwhm = {{ {widths} }}\ndata ignore value = -9999\nsmoothing factors = {{ 1, 1, 1 }}\n"
    )
    return header, raw
